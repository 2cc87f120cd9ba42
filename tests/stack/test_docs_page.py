"""The documentation page in a real browser: it works, and nothing in it comes from elsewhere."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.stack.browser import Browser
from tests.stack.conftest import Stack, wait_for

LIST = "#operations-posts-list_posts"


def test_the_page_shows_every_operation_lets_one_log_in_and_runs_a_request(stack: Stack, browser: Browser) -> None:
    stack.log_in("ani@example.com")
    operations = [f"{m} {p}" for p, item in stack.get("/openapi.json").json()["paths"].items() for m in item]
    browser.open(f"{stack.url}/docs", f"document.querySelectorAll('.opblock').length === {len(operations)}")

    browser.click(f"{LIST} .opblock-summary-control")
    # Faster than any hand, a click can come before the page has looked the operation up.
    browser.wait_for(f"!!document.querySelector('{LIST} [data-param-name=limit] input')")
    browser.click(f"{LIST} .execute")
    status = "document.querySelector('%s .live-responses-table tbody .response-col_status')?.innerText"
    assert browser.wait_for(status % LIST).startswith("200")

    browser.click(".btn.authorize")
    browser.fill("#oauth_username", "ani@example.com")
    browser.fill("#oauth_password", "rahasia-123")
    browser.click(".auth-btn-wrapper .authorize")
    browser.wait_for("[...document.querySelectorAll('.auth-btn-wrapper button')].some(b => b.innerText === 'Logout')")
    browser.click(".btn-done")
    create = "#operations-posts-create_post"
    browser.click(f"{create} .opblock-summary-control")
    browser.wait_for(f"!!document.querySelector('{create} textarea')?.value.includes('nama')")
    browser.click(f"{create} .execute")
    assert browser.wait_for(status % create).startswith("201")

    assert browser.said == []
    elsewhere = [url for url in browser.requested if not url.startswith((f"{stack.url}/", "data:"))]
    assert elsewhere == []
    assert f"{stack.url}/login" in browser.requested


class _Forbidden(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.end_headers()
        self.wfile.write(b"<script>document.title = 'ran'</script><p id=there>")

    def log_message(self, *_: object) -> None:
        pass


class _CutOff(BaseHTTPRequestHandler):
    """A page that says at first what Chromium says when it gives up loading, and is whole the second time."""

    asked = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        _CutOff.asked += 1
        what = "console.error('net::ERR_NETWORK_CHANGED')" if _CutOff.asked == 1 else "document.title = 'whole'"
        self.wfile.write(f"<link rel=icon href=data:,><script>{what}</script>".encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_page_that_is_cut_off_by_a_network_of_other_tests_is_opened_once_more(browser: Browser) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _CutOff)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.open(f"http://127.0.0.1:{server.server_port}/", "document.title === 'whole'")
    finally:
        server.shutdown()
    assert (_CutOff.asked, browser.said) == (2, [])


def test_the_browser_would_say_what_a_policy_forbids(browser: Browser) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Forbidden)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.open(f"http://127.0.0.1:{server.server_port}/", "!!document.querySelector('#there')")
    finally:
        server.shutdown()
    # What it says arrives between its answers.
    wait_for(
        lambda: browser.evaluate("document.title") != "ran" and "Content Security Policy" in str(browser.said),
        "the browser to say it",
    )  # fmt: skip
    assert browser.evaluate("document.title") != "ran"
