/*
 * A backend that costs almost nothing, so that the front before it is what is measured.
 *
 *     backend MODEL TOKENS INTERVAL_MS PORT...
 *
 * One process and one thread, listening on each of the ports of 127.0.0.1: many backends, or one. Each POST is answered
 * with a chat completion, or, where the body has "stream": true, with a stream of TOKENS events, the first at once and
 * one every INTERVAL_MS milliseconds after it (0: all at once). The bytes are those of vLLM, as `devstral-router
 * simulate` writes them. GET /health, /v1/models, /metrics, /version and /stats are answered too; /stats counts.
 *
 * It is a measuring tool, not a server: it trusts its load, and reads no more of HTTP than Content-Length, chunks and
 * the end of a head.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_SIZE = 16 << 10, MAX_SIZE = 64 << 20, EVENTS = 256, STUCK_MS = 10000 };

typedef struct Connection {
    int fd;
    int is_listener;
    char *data; /* of the request that is being read */
    size_t length, size, wanted; /* wanted: bytes of the whole request, 0: not known yet */
    int left; /* events of a stream that are still to be sent; -1: no stream */
    double due; /* milliseconds: when the next of them is */
    struct Connection *next, *previous; /* in the row of streams, by when they are due */
} Connection;

typedef struct {
    char *bytes;
    size_t length;
} Text;

static Connection row = {.next = &row, .previous = &row};
static Text answer, head_and_role, event, last, health, models, metrics, version, not_found;
static int tokens, poll_fd;
static double interval;
static long served, sent, aborted; /* requests, events of streams, streams */

static double now_ms(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e3 + at.tv_nsec / 1e6;
}

static Text text(const char *form, ...) {
    Text made;
    va_list values;
    va_start(values, form);
    int length = vasprintf(&made.bytes, form, values);
    va_end(values);
    if (length < 0) abort();
    made.length = length;
    return made;
}

static Text whole(int status, const char *type, const char *body) {
    return text("HTTP/1.1 %d %s\r\ndate: Fri, 20 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: %zu\r\n"
                "content-type: %s\r\n\r\n%s", status, status == 200 ? "OK" : "Not Found", strlen(body), type, body);
}

static Text chunk(const char *data) {
    return text("%zx\r\n%s\r\n", strlen(data), data);
}

static void prepare(const char *model) {
    const char id[] = "\"id\":\"chatcmpl-96984aa8fd307d97\"", named[] = "\"created\":1795210401,\"model\"";
    char *start = text("data: {%s,\"object\":\"chat.completion.chunk\",%s:\"%s\",\"choices\":[{\"index\":0,\"delta\":",
                       id, named, model).bytes;
    char *role = text("%s{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}],"
                      "\"prompt_token_ids\":null,\"prompt_text\":null}\n\n", start).bytes;
    head_and_role = text("HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
                         "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n%s",
                         chunk(role).bytes);
    event = chunk(text("%s{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}]}\n\n",
                       start).bytes);
    last = text("%s%s0\r\n\r\n", chunk(text("%s{},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,"
                "\"token_ids\":null}]}\n\n", start).bytes).bytes, chunk("data: [DONE]\n\n").bytes);
    answer = whole(200, "application/json", text(
        "{%s,\"object\":\"chat.completion\",%s:\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "\"The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog.\",\"refusal\":null,"
        "\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":[],\"reasoning\":null},\"logprobs\":"
        "null,\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":null}],\"service_tier\":null,"
        "\"system_fingerprint\":null,\"usage\":{\"prompt_tokens\":120,\"total_tokens\":140,\"completion_tokens\":20,"
        "\"prompt_tokens_details\":null},\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"prompt_text\":null,"
        "\"kv_transfer_params\":null}", id, named, model).bytes);
    models = whole(200, "application/json", text(
        "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1795210401,\"owned_by\":\"vllm\","
        "\"root\":\"%s\",\"parent\":null,\"max_model_len\":1000000,\"permission\":[]}]}", model, model).bytes);
    metrics = whole(200, "text/plain; version=0.0.4; charset=utf-8", text(
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\",model_name=\"%s\"} 0.0\n"
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\",model_name=\"%s\"} 0.0\n",
        model, model).bytes);
    health = whole(200, "text/plain", "");
    version = whole(200, "application/json", "{\"version\":\"0.33.0\"}");
    not_found = whole(404, "application/json", "{\"detail\":\"Not Found\"}");
}

static void leave_row(Connection *one) {
    one->previous->next = one->next;
    one->next->previous = one->previous;
}

/* All streams have the same interval: who joins last is due last, or with who was, if it fell behind. */
static void join_row(Connection *one, double due) {
    one->due = row.previous != &row && row.previous->due > due ? row.previous->due : due;
    one->previous = row.previous;
    one->next = &row;
    row.previous->next = one;
    row.previous = one;
}

static void end(Connection *one) {
    if (one->left >= 0) {
        aborted++;
        leave_row(one);
    }
    close(one->fd);
    free(one->data);
    free(one);
}

/* Whoever does not read holds up all others; a load of a benchmark reads. */
static int send_all(Connection *one, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(one->fd, bytes, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            length -= sent;
        } else {
            struct pollfd writable = {.fd = one->fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&writable, 1, STUCK_MS) != 1) return 0;
        }
    }
    return 1;
}

static int send_text(Connection *one, Text what) {
    return send_all(one, what.bytes, what.length);
}

static int is_path(const char *request, const char *path) {
    return !strncmp(request + 4, path, strlen(path)) && strchr(" ?", request[4 + strlen(path)]);
}

static int send_get(Connection *one) {
    if (is_path(one->data, "/health")) return send_text(one, health);
    if (is_path(one->data, "/v1/models")) return send_text(one, models);
    if (is_path(one->data, "/metrics")) return send_text(one, metrics);
    if (is_path(one->data, "/version")) return send_text(one, version);
    if (!is_path(one->data, "/stats")) return send_text(one, not_found);
    Text body = text("{\"served\":%ld,\"sent\":%ld,\"aborted\":%ld}", served, sent, aborted);
    Text made = whole(200, "application/json", body.bytes);
    int sent = send_text(one, made);
    free(body.bytes);
    free(made.bytes);
    return sent;
}

/* In a text of the conversation the quotes of such a key have backslashes before them. */
static int asks_for_stream(const char *body, size_t length) {
    const char key[] = "\"stream\":";
    const char *found = memmem(body, length, key, sizeof key - 1);
    return found && found[sizeof key - 1 + (found[sizeof key - 1] == ' ')] == 't';
}

static int send_next(Connection *one);

static int respond(Connection *one, size_t head) {
    if (!strncmp(one->data, "GET ", 4)) return send_get(one);
    if (!strstr(one->data, "/completions HTTP/1.")) return send_text(one, not_found); /* what probes ask for */
    served++;
    if (!asks_for_stream(one->data + head, one->wanted - head)) return send_text(one, answer);
    if (!send_text(one, head_and_role)) return 0;
    one->left = tokens;
    one->due = now_ms();
    return send_next(one);
}

/* Send an event, or all of them where there is no interval, of a stream that is not in the row; and put it there. */
static int send_next(Connection *one) {
    do {
        if (one->left == 0) {
            one->left = -1;
            return send_text(one, last);
        }
        one->left--;
        if (!send_text(one, event)) {
            one->left = -1;
            aborted++;
            return 0;
        }
        sent++;
    } while (interval == 0);
    join_row(one, one->due + interval);
    return 1;
}

/* Find out how long the request is, once its head is there; 0: not yet, or its body has chunks and is not whole. */
static size_t measure(Connection *one, size_t *head) {
    char *blank = memmem(one->data, one->length, "\r\n\r\n", 4);
    if (!blank) return 0;
    *head = blank + 4 - one->data;
    *blank = 0;
    char *length = strcasestr(one->data, "\r\ncontent-length:");
    int chunked = !length && strcasestr(one->data, "\r\ntransfer-encoding: chunked");
    *blank = '\r';
    if (!chunked) return *head + (length ? strtoul(length + 17, NULL, 10) : 0);
    char *stop = memmem(one->data + *head, one->length - *head, "\r\n0\r\n\r\n", 7);
    return stop ? (size_t)(stop + 7 - one->data) : 0;
}

/* Answer what has come whole; a stream is sent to its end before the next request is looked at. */
static int proceed(Connection *one) {
    while (one->left < 0 && one->length) {
        size_t head = 0;
        if (!one->wanted || one->length >= one->wanted) one->wanted = measure(one, &head);
        if (!one->wanted || one->length < one->wanted) break;
        size_t used = one->wanted;
        if (!respond(one, head)) return 0;
        one->wanted = 0;
        one->length -= used;
        memmove(one->data, one->data + used, one->length);
        one->data[one->length] = 0;
    }
    return 1;
}

static int receive(Connection *one) {
    size_t needed = one->wanted > one->length ? one->wanted : one->length + 1;
    if (needed + 1 > one->size) {
        one->size = needed + 1 > 2 * one->size ? needed + 1 : 2 * one->size;
        if (one->size < FIRST_SIZE) one->size = FIRST_SIZE;
        if (one->size > MAX_SIZE || !(one->data = realloc(one->data, one->size))) return 0;
    }
    ssize_t got = recv(one->fd, one->data + one->length, one->size - one->length - 1, 0);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    one->length += got;
    one->data[one->length] = 0;
    return proceed(one);
}

static void watch(int fd, int is_listener) {
    Connection *one = calloc(1, sizeof *one);
    if (!one) abort();
    *one = (Connection){.fd = fd, .is_listener = is_listener, .left = -1};
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &wanted)) abort();
}

static void listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    watch(fd, 1);
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, 0);
    }
}

static void send_due(void) {
    double now = now_ms();
    while (row.next != &row && row.next->due <= now) {
        Connection *one = row.next;
        leave_row(one);
        if (!send_next(one) || (one->left < 0 && !proceed(one))) end(one);
    }
}

int main(int count, char **words) {
    if (count < 5) {
        fprintf(stderr, "backend MODEL TOKENS INTERVAL_MS PORT...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    tokens = atoi(words[2]);
    interval = atof(words[3]);
    prepare(words[1]);
    for (int index = 4; index < count; index++) listen_on(atoi(words[index]));
    struct epoll_event events[EVENTS];
    for (;;) {
        double wait = row.next == &row ? -1 : row.next->due - now_ms();
        int milliseconds = row.next == &row ? -1 : wait <= 0 ? 0 : (int)(wait + 0.999);
        int ready = epoll_wait(poll_fd, events, EVENTS, milliseconds);
        for (int index = 0; index < ready; index++) {
            Connection *one = events[index].data.ptr;
            if (one->is_listener) accept_all(one->fd);
            else if (!receive(one)) end(one);
        }
        send_due();
    }
}
