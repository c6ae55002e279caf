"""`framevit export` and `benchmark`: a trained model as one file, proven and measured.

Takes a classifier, a test split and limits.
Gives model.onnx, model-int8.onnx, their proof, and a table of speeds.
Must not know training.
"""
