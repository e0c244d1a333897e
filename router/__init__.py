"""devstral-router: one OpenAI-compatible base URL in front of a cluster of vLLM servers.

The words, used everywhere and only so:

client    whoever calls us                      exchange  one client request with its one answer
backend   one upstream server                   attempt   one try of an exchange at one backend
pool      the backends that serve one model     outcome   how an exchange or attempt ended; an enum
route     one exact path and method we serve    dialect   a wire format that is translated to and from
event     one server-sent event of a stream     profile   what a dialect must know of one backend
worker    one process of the router
"""

__version__ = "0.1.0"
