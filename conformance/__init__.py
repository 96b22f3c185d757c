"""A conformance command for any server of the OpenAI Realtime protocol; it knows none of them."""
