"""The runtimes that compute a model's answers: torch, ONNX Runtime and OpenVINO.

Takes a model folder or an exported file.
Gives a `Backend`: preprocessed pictures in, logits and embeddings out.
Must not know the labels of pictures, decisions or reports.
"""
