"""sizeup: does this LLM fit, how long does it take, what does it cost - with receipts."""

__version__ = "0.1.0"
