"""The processes of one router: one that does everything, or a parent that holds the sockets and its workers.

    router.server.serve ─ workers: 1 ─> single ──────────────┐
                        └ workers: N ─> parent ─ bus ─> worker ─> serving: App and its servers, start to drain

Both tops hand over to a successor (new code, the same sockets) on SIGUSR2.
"""
