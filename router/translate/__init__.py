"""Dialects: what a request becomes before a backend sees it, and its answer before the client does. Pure.

    body -> request.translate -> the backend's body, and what the client `Asked`
    answer or stream of events -> answer.translate / StreamTranslator.feed -> strictly OpenAI's form

What each change is called and why it is made stands in docs/translation.md; `notes.Rule` names them all.
"""
