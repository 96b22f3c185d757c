"""A conformance command for any server of the OpenAI Realtime protocol; it knows no server's code."""
