"""One small module per STT, LLM and TTS backend, imported only when it is selected."""
