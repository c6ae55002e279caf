"""Who computes the answers: torch, ONNX Runtime or OpenVINO.

Takes a model folder or an exported file.
Gives a `Backend`: pixels in, logits and embeddings out.
Must not know labels of pictures, decisions or reports.
"""
