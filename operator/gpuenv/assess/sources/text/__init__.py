"""Cleans pasted texts before anything is read from them: prefixes of logs, colours, quotation marks, advice."""
