"""For those who make the call to Grok themselves: Grok's bytes in, and out whatever is wanted.

    converter = ChunkConverter(question, identity=identity, created=created)
    converter.receive_head(response.status, response.headers)
    for data in response:                       # or `async for`
        for chunk in converter.receive_data(data):
            ...
    for chunk in converter.receive_eof():
        ...

The same in one line, where the body can be iterated over: `for chunk in converter.convert(body)`.

There are three, which differ in what they give: `EventConverter` answer events, `ChunkConverter`
OpenAI's chunks as objects, `BodyConverter` the bytes of the response to the client. All go the way
that the exchange goes (`grokproto.rendering`): the same reader, `stop` and `max_tokens`, thinking
and search results as they were asked for, and the same encoder. One converter is for one answer.

1. What comes out does not depend on how the bytes were cut, but for where it is cut itself.
2. A failure is no exception: it comes out last, in the form that clients of OpenAI know, and it is
   `failure`. An answer that broke off never has a `finish_reason`.
3. `over` says that nothing more will come. That may be before the body's end, where `stop` or
   `max_tokens` ended the answer; the call may be closed then.
"""

from .converter import Converter
from .event_converter import EventConverter
from .openai_converters import BodyConverter, Chunk, ChunkConverter

__all__ = ["BodyConverter", "Chunk", "ChunkConverter", "Converter", "EventConverter"]
