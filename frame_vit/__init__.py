"""framevit: fine-tune a Vision Transformer on frames whose classes are directions."""

__version__ = "0.5.0"
