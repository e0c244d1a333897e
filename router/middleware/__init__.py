"""Middlewares: code of operators, and two of our own, that sees every relayed request and its answer."""

from router.middleware.interface import Call, Ending, Failure, Head, Middleware, Refusal, Request

__all__ = ["Call", "Ending", "Failure", "Head", "Middleware", "Refusal", "Request"]
