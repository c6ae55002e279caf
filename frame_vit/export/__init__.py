"""`framevit export` and `framevit benchmark`: a trained model as one file, its proof, and its speed on this machine.

Takes a classifier with its weights, labelled pictures, and limits.
Gives model.onnx and model-int8.onnx with export.json, and benchmark.json.
Must not know training.
"""
