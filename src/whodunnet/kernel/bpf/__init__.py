"""The loader of our BPF programs and the records they hand over."""
