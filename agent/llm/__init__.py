"""The language model behind a designer: how it is called, what it costs, and the journal of what it said.

`journalled` is the chat model that designers talk to. It asks over a `connection`, whose model is one of a server
(`openai`, or any that LangChain knows) or one on this machine (`local`). Who knows tool calls is held to a grammar
(`guided_calls`) or asked as any server is; who knows none is asked in text (`plain_calls`).
"""
