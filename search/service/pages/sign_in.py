"""Signing in with a token, and out again: a plain form, without scripts."""

import html
from urllib.parse import parse_qs, quote, urlsplit

from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from paredown.search.service.guard import SIGN_IN
from paredown.search.service.rate_limit import RateLimit
from paredown.search.service.service import Service
from paredown.search.service.sessions import COOKIE, LIFETIME_S

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REFERRER = {"referrer-policy": "same-origin"}
"""Header of pages with forms: without a referrer, browsers send them from the origin `null`."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Paredown</title>
<link rel="icon" type="image/svg+xml" href="{root}/assets/icon.svg">
<link rel="stylesheet" href="{root}/assets/pages.css">
</head>
<body class="sign-in">
<main>
<p class="brand"><img src="{root}/assets/icon.svg" alt="" width="28" height="28">Paredown</p>
<h1>Sign in</h1>
{problem}
<form method="post" action="{root}/sign-in?next={next_quoted}">
<label for="token">Access token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 spellcheck="false" aria-describedby="hint" placeholder="pd_…">
<button class="primary" type="submit">Sign in</button>
</form>
<p id="hint" class="hint">The server printed one when it first started;
<code>paredown token create NAME</code> makes another. The session ends after {hours} hours
or when the server restarts.</p>
<p class="hint"><a href="{root}{next}">I have signed in already</a></p>
</main>
</body>
</html>
"""


def add_sign_in(application: FastAPI, service: Service) -> None:
    """Add the form, and what it is sent to."""
    router, root = APIRouter(include_in_schema=False), service.settings.root_path
    attempts = RateLimit(per_s=0.5, burst=30)

    @router.get(SIGN_IN)
    def form(request: Request) -> HTMLResponse:
        wanted = getattr(request.state, "wanted", None)
        if wanted is None:
            return _page(root, request.query_params.get("next", "/"), "", 200)
        query = f"?{request.url.query}" if request.url.query else ""
        return _page(root, quote(wanted) + query, "", 401)

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        wanted = request.query_params.get("next", "/")
        address = "" if request.client is None else request.client.host
        given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0].strip()
        if await run_sync(service.checked_tokens.check, given) is None:
            if not attempts.take(address):
                return _page(root, wanted, "Too many attempts. Try again in a minute.", 429)
            return _page(
                root, wanted, "This token is unknown, expired or revoked. Check that all of it was copied.", 401
            )
        answer = RedirectResponse(root + _local(wanted), 303)
        is_secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
        answer.set_cookie(
            COOKIE,
            service.sessions.open(given),
            max_age=int(LIFETIME_S),
            path=f"{root}/",
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        service.sessions.close(request.headers.get("cookie", ""))
        answer = RedirectResponse(root + SIGN_IN, 303)
        answer.delete_cookie(COOKIE, path=f"{root}/", httponly=True, samesite="strict")
        return answer

    application.include_router(router)


def _page(root: str, wanted: str, problem: str, status: int) -> HTMLResponse:
    local = _local(wanted)
    text = PAGE.format(
        root=html.escape(root),
        next=html.escape(local),
        next_quoted=html.escape(quote(local, safe="")),
        problem=f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else "",
        hours=round(LIFETIME_S / 3600),
    )
    return HTMLResponse(text, status, {"content-security-policy": POLICY, **REFERRER})


def _local(wanted: str) -> str:
    """Return a path of this server, also where something else is asked for."""
    split = urlsplit(wanted)
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not split.netloc
    safe = is_local and not any(ord(letter) < 32 or letter == "\\" for letter in wanted)
    return wanted if safe and split.path != SIGN_IN else "/"
