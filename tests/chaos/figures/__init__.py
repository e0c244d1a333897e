"""What faults cost clients, in figures: this router beside nginx and HAProxy where they can do it at all.

    python -m tests.chaos.figures [--only kill,gone,...] [--fronts nginx,ours,...] [--runs N] [--quick] [--json FILE]

Every figure starts real processes (three simulated backends, one front), loads them from here, does its harm with
real signals, and judges every answer byte for byte: the simulator is deterministic, so what an unbroken run says is
known. The table shows medians over the runs, and in brackets the worst run where it differs; the JSON has every run.

front    what stands between clients and backends: nginx, HAProxy, or this router, each with one set of settings
figure   one kind of harm (`kill`, `stop` ...) and what is counted of it
run      one figure at one front, once, on fresh processes
row      the numbers of one figure at one front

| figure   | the harm                                             | what is counted |
|----------|------------------------------------------------------|-----------------|
| kill     | kill -9 of one of three under 200 streams            | failed new requests, whole and cut streams, errors |
| stop     | SIGSTOP of one of three under the same load          | the same, and how long the moved ones stood still |
| busy     | probes answered late while streams flow (compressed) | ejections, errors |
| hung     | an engine that stands still behind a healthy /health | seconds until it is found |
| reload   | ten reloads under load                               | failed connections, cut streams |
| restart  | ten restarts (new processes) under load              | the same |
| gone-*   | clients that leave, in six ways, and pipelining ones | milliseconds until the backend's connection closes |
| failing  | all backends answer 500 at 100 requests a second     | attempts per request |
| dead     | all backends dead, then one comes back               | milliseconds to the 503, seconds to service |
| stalled  | 200 clients that read nothing, flooding backends     | growth of memory, other clients' latency |
| soak     | short requests and streams without end, faults on    | growth of memory, descriptors, tasks |
| overload | twice what the backends can do                       | goodput, latency of refusals, Retry-After |

A peer that is not installed is left out, with a line that says so (Debian: apt-get install nginx-light haproxy).
`--quick` is a tenth of everything, to see that it works: its figures prove little. The load is made in this process
(asyncio on uvloop), which must not be the bottleneck: `load` in a row is the share of a core that it used.
"""
