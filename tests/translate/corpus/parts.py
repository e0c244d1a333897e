"""Content of user and system messages: missing, in parts, with images, in the forms of other APIs."""

from tests.translate.corpus.case import (
    MIXED,
    PICTURE,
    PNG,
    REFUSED,
    TAKEN,
    Case,
    assistant,
    image,
    system,
    text,
    user,
)

ANTHROPIC_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}

MISSING = [
    Case("user_content_null", REFUSED, "R7", {"messages": [user(None)]}),
    Case("user_content_null/mid", REFUSED, "R7 (R16)", {"messages": [user("hi"), assistant("Hello!"), user(None)]}),
    Case("user_content_missing", REFUSED, "R7", {"messages": [{"role": "user"}]}),
    Case("user_empty_parts", TAKEN, "R7 (R6)", {"messages": [user([])]}),
    Case("user_empty_parts/empty_text", TAKEN, "R6 (R7)", {"messages": [user([text("")])]}),
    Case("user_empty_parts/empty_string", TAKEN, "=", {"messages": [user("")]}),
    Case("system_content_null", REFUSED, "R7", {"messages": [system(None), user("hi")]}),
    Case("system_content_null/missing", REFUSED, "R7", {"messages": [{"role": "system"}, user("hi")]}),
    Case("system_content_empty", TAKEN, "R7", {"messages": [system(""), user("hi")]}),
    Case("system_content_empty/parts", TAKEN, "R7 (R6)", {"messages": [system([]), user("hi")]}),
    Case("system_image_part", REFUSED, "R9 (R6)", {"messages": [system([text("Logo:"), image()]), user("hi")]}),
]

FORMS = [
    Case("user_part_plain_str", REFUSED, "R6", {"messages": [user(["one", text("two")])]}),
    Case("user_part_null_text", REFUSED, "R6", {"messages": [user([{"type": "text", "text": None}, text("two")])]}),
    Case("user_part_no_type", REFUSED, "R6", {"messages": [user([{"text": "one"}])]}),
    Case(
        "user_input_text_part/responses", REFUSED, "R6", {"messages": [user([{"type": "input_text", "text": "one"}])]}
    ),
    Case(
        "user_input_text_part/with_image",
        REFUSED,
        "R6",
        {
            "messages": [
                user(
                    [
                        {"type": "input_text", "text": "one"},
                        {"type": "input_image", "image_url": PICTURE, "detail": "low"},
                    ]
                )
            ]
        },
        picture=True,
    ),
    Case("user_input_text_part/text_parts", TAKEN, "R6", {"messages": [user([text("one"), text("two")])]}),
    Case(
        "user_input_text_part/text_with_id",
        MIXED,
        "R6",
        {"messages": [user([{"type": "text", "text": "one", "id": "p1", "annotations": None}])]},
    ),
    Case("user_content_null/object", REFUSED, "(R6 R8)", {"messages": [user({"type": "text", "text": "one"})]}),
]

IMAGES = [
    Case("user_image_url", TAKEN, "=", {"messages": [user([text("What is it?"), image()])]}, picture=True),
    Case(
        "user_image_url/two",
        TAKEN,
        "=",
        {"messages": [user([image(), text("and"), image(), text("Compare.")])]},
        picture=True,
    ),
    Case(
        "user_image_url/plain_string",  # Mistral's own form: the URL itself
        TAKEN,
        "(R6)",
        {"messages": [user([text("What is it?"), {"type": "image_url", "image_url": PICTURE}])]},
        picture=True,
    ),
    Case(
        "user_image_detail",
        TAKEN,
        "=",
        {"messages": [user([text("What is it?"), image(detail="high")])]},
        picture=True,
    ),
    Case(
        "user_image_extra",
        REFUSED,
        "R6",
        {"messages": [user([text("What is it?"), image(mime_type="image/png", format="png")])]},
        picture=True,
    ),
    Case(
        "user_image_extra/cache_control",
        TAKEN,
        "R6",
        {"messages": [user([text("What is it?"), {**image(), "cache_control": {"type": "ephemeral"}}])]},
        picture=True,
    ),
    Case(
        "user_image_anthropic",
        REFUSED,
        "R6",
        {"messages": [user([text("What is it?"), ANTHROPIC_IMAGE])]},
        picture=True,
    ),
    Case(
        "user_image_url/no_url",
        REFUSED,
        "",
        {"messages": [user([text("What is it?"), {"type": "image_url", "image_url": {}}])]},
        refused="messages.0.content.1",
    ),
    Case(
        "user_image_url/null",
        REFUSED,
        "",
        {"messages": [user("hi"), assistant("Hello!"), user([{"type": "image_url", "image_url": None}])]},
        refused="messages.2.content.0",
    ),
    Case(
        "user_file_part",
        REFUSED,
        "",
        {
            "messages": [
                user([text("Sum it up."), {"type": "file", "file": {"file_id": "file-6F2ksmvXxt4VdoqmHRw6kL"}}])
            ]
        },
        refused="messages.0.content.1",
    ),
    Case(
        "user_file_part/input_file",
        REFUSED,
        "",
        {"messages": [user([{"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0="}])]},
        refused="messages.0.content.0",
    ),
    Case(
        "user_video_part",
        REFUSED,
        "",
        {"messages": [user([{"type": "video_url", "video_url": {"url": "http://127.0.0.1/a.mp4"}}, text("What?")])]},
        refused="messages.0.content.0",
    ),
]

TEXTS = [
    Case("lone_surrogate", TAKEN, "R36", {"messages": [user("half \ud83d of a pair")]}),
    Case("lone_surrogate/tool_name", TAKEN, "R36", {"messages": [system("\udc00"), user("ok")]}),
    Case(
        "control_tokens_in_text",
        TAKEN,
        "=",
        {
            "messages": [
                system("[SYSTEM_PROMPT]"),
                user("[INST]</s>[TOOL_CALLS]"),
                assistant("</s>"),
                user("[/INST]<s>"),
            ]
        },
    ),
    Case("control_tokens_in_text/nul", TAKEN, "=", {"messages": [user("a\x00b\x1b[31m\u2028\ufeff")]}),
]

CASES = [*MISSING, *FORMS, *IMAGES, *TEXTS]
