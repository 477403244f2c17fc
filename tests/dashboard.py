"""A stand-in for a Ray dashboard's jobs: what its REST interface answers, and a head that goes away on purpose."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import ray
from aiohttp import web


@dataclass
class Dashboard:
    """The state that tests set and look at. Jobs walk through `statuses`, a step for each question about them."""

    token: str | None = None
    ray_version: str = ray.__version__
    statuses: list = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    exit_code: int | None = 0
    log: str = ""
    cuts: list = field(default_factory=list)  # characters after which a connection to the log breaks, one each
    forgets: bool = False
    refusals: int = 0  # of a head that has just started: it takes no jobs so many times
    jobs: dict = field(default_factory=dict)
    packages: dict = field(default_factory=dict)
    submitted: list = field(default_factory=list)
    url: str = ""

    def details(self, name):
        job = self.jobs[name]
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": name,
            "status": job["status"],
            "entrypoint": job["entrypoint"],
            "message": "no node has the labels",
            "driver_exit_code": self.exit_code if job["status"] in {"SUCCEEDED", "FAILED"} else None,
        }


_DASHBOARD = web.AppKey("dashboard", Dashboard)


@web.middleware
async def _authorised(request, handler):
    token = request.app[_DASHBOARD].token
    if token is not None and request.headers.get("Authorization") != f"Bearer {token}":
        return web.Response(status=401, text="Unauthorized: missing authentication token")
    return await handler(request)


async def _version(request):
    return web.json_response({"version": "4", "ray_version": request.app[_DASHBOARD].ray_version, "ray_commit": "x"})


async def _list(request):
    dashboard = request.app[_DASHBOARD]
    return web.json_response([dashboard.details(name) for name in dashboard.jobs])


async def _submit(request):
    dashboard = request.app[_DASHBOARD]
    content = await request.json()
    name = content["submission_id"]
    if name in dashboard.jobs:
        return web.Response(status=500, text=f"Job with submission_id {name} already exists.")
    if dashboard.refusals:
        dashboard.refusals -= 1
        return web.Response(status=500, text="No available agent to submit job, please try again later.")
    dashboard.submitted.append(content)
    dashboard.jobs[name] = {"status": dashboard.statuses[0], "entrypoint": content["entrypoint"], "step": 0}
    return web.json_response({"job_id": name, "submission_id": name})


async def _info(request):
    dashboard = request.app[_DASHBOARD]
    name = request.match_info["name"]
    if dashboard.forgets or name not in dashboard.jobs:
        return web.Response(status=404, text=f"Job {name} does not exist")
    job = dashboard.jobs[name]
    answer = dashboard.details(name)
    job["step"] = min(job["step"] + 1, len(dashboard.statuses) - 1)
    job["status"] = dashboard.statuses[job["step"]]
    return web.json_response(answer)


async def _delete(request):
    del request.app[_DASHBOARD].jobs[request.match_info["name"]]
    return web.json_response({"deleted": True})


async def _tail(request):
    dashboard = request.app[_DASHBOARD]
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    cut = dashboard.cuts.pop(0) if dashboard.cuts else None
    for start in range(0, len(dashboard.log), 7):
        if cut is not None and start >= cut:
            request.transport.abort()
            return socket
        await socket.send_str(dashboard.log[start : start + 7])
        await asyncio.sleep(0)
    await socket.close()
    return socket


async def _package(request):
    dashboard = request.app[_DASHBOARD]
    name = request.match_info["name"]
    if request.method == "PUT":
        dashboard.packages[name] = await request.read()
        return web.Response()
    return web.Response(status=200 if name in dashboard.packages else 404)


@contextmanager
def running_dashboard(**state):
    """A dashboard in a thread, on a free port of loopback."""
    dashboard = Dashboard(**state)
    app = web.Application(middlewares=[_authorised], client_max_size=64 << 20)
    app[_DASHBOARD] = dashboard
    app.router.add_get("/api/version", _version)
    app.router.add_get("/api/jobs/", _list)
    app.router.add_post("/api/jobs/", _submit)
    app.router.add_get("/api/jobs/{name}", _info)
    app.router.add_delete("/api/jobs/{name}", _delete)
    app.router.add_get("/api/jobs/{name}/logs/tail", _tail)
    app.router.add_route("*", "/api/packages/{protocol}/{name}", _package)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app)
    ready = threading.Event()

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        dashboard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()

    def serve():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield dashboard
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
