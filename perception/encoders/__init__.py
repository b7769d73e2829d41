"""Encoders: networks that map observations to tokens, one network per module."""
