"""Real crawlers: Scrapy, wget and curl, each from an address of its own."""

import subprocess
import sys

from parts import AMAZON, CLAUDE, COMMON, GPT, META, tool

SPIDER = """
import scrapy


class Site(scrapy.Spider):
    name = "site"
    start_urls = [{start!r}]
    custom_settings = {{
        "USER_AGENT": {agent!r},
        "ROBOTSTXT_OBEY": True,
        "CONCURRENT_REQUESTS": 16,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
        "CLOSESPIDER_PAGECOUNT": {pages},
        "HTTPERROR_ALLOW_ALL": True,
        "DOWNLOAD_BIND_ADDRESS": {address!r},
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "WARNING",
    }}

    def start_requests(self):
        for url in self.start_urls:
            yield scrapy.Request(url, meta={{"bindaddress": {address!r}}})

    async def start(self):
        for request in self.start_requests():
            yield request

    def parse(self, response):
        if not isinstance(response, scrapy.http.HtmlResponse):
            return
        for link in response.css("a::attr(href)").getall():
            url = response.urljoin(link).split("#")[0]
            if url.startswith(self.start_urls[0].rsplit("/", 1)[0]):
                yield scrapy.Request(url, callback=self.parse, meta={{"bindaddress": {address!r}}})
"""


def scrapy(work, url, small):
    """Scrapy follows every link, many requests at once."""
    spider = work / "spider.py"
    pages = 200 if small else 0
    spider.write_text(
        SPIDER.format(start=f"{url}/index.html", agent=META.agent, address=META.address, pages=pages)
    )
    said = subprocess.run(
        [sys.executable, "-m", "scrapy", "runspider", spider], cwd=work, capture_output=True, text=True, timeout=600
    )
    if said.returncode or "Traceback" in said.stderr:
        raise RuntimeError(f"scrapy: {said.stderr[-3000:]}")


def wget(work, url, small):
    """`wget --mirror` walks the site on one connection."""
    room = work / "mirror"
    depth = ["--level=1"] if small else []
    said = subprocess.run(
        [tool("wget"), "--mirror", *depth, "--no-verbose", f"--user-agent={AMAZON.agent}",
         f"--bind-address={AMAZON.address}", f"--directory-prefix={room}", f"{url}/index.html"],
        capture_output=True, text=True, timeout=900,
    )
    # 8: the server answered some page with an error, as sites do; wget has fetched the rest.
    if said.returncode not in (0, 8):
        raise RuntimeError(f"wget: {said.stderr[-3000:]}")
    return room


def curl(work, url, pages, small):
    """Three crawlers' names, a list of pages each, several transfers at once, some of them odd."""
    count = 150 if small else len(pages)
    for crawler in (GPT, CLAUDE, COMMON):
        config = work / f"curl-{crawler.token}.txt"
        lines = []
        for page in pages[:count]:
            lines += [f'url = "{url}/{page}"', 'output = "/dev/null"']
        lines += [f'url = "{url}/no-such-page-{n}.html"\noutput = "/dev/null"' for n in range(5)]
        config.write_text("\n".join(lines) + "\n")
        base = [tool("curl"), "--silent", "--show-error", "--noproxy", "*", "--user-agent", crawler.agent,
                "--interface", crawler.address]
        odd = [
            [*base, "--parallel", "--parallel-max", "8", "--config", config],
            [*base, "--head", f"{url}/{pages[0]}"],
            [*base, "--range", "0-99", "--output", "/dev/null", f"{url}/{pages[1]}"],
            [*base, "--output", "/dev/null", "--header", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
             f"{url}/{pages[2]}"],
            [*base, "--output", "/dev/null", f"{url}/robots.txt"],
        ]
        for argv in odd:
            said = subprocess.run(argv, capture_output=True, text=True, timeout=600)
            if said.returncode:
                raise RuntimeError(f"curl as {crawler.token}: {said.stderr[-2000:]}")
