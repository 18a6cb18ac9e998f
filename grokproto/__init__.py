"""grokproto: the protocol between OpenAI's API and grok.com's, without any I/O."""
