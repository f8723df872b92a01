// A crawler that signs with `web-bot-auth`, pays by Pay Per Crawl, and publishes its keys over https itself. Its arguments and
// what it is asked are those of ../python/crawler.py.

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { request as httpRequest } from "node:http";
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;

const { signatureHeaders } = await import("web-bot-auth");
const { signerFromJWK } = await import("web-bot-auth/crypto");

const [chain, key] = process.argv.slice(2);
const pair = await crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
const { kty, crv, x, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
const signer = await signerFromJWK({ kty, crv, x, d });

const server = createServer({ cert: readFileSync(chain), key: readFileSync(key) }, (asked, answer) => {
  const isThere = asked.url === "/.well-known/http-message-signatures-directory";
  answer.writeHead(isThere ? 200 : 404, {
    "Content-Type": "application/http-message-signatures-directory+json",
    "Cache-Control": "max-age=3600",
  });
  answer.end(JSON.stringify({ keys: [{ kty, crv, x }] }));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const agent = `https://127.0.0.1:${server.address().port}`;

async function get(asked) {
  const headers = Object.fromEntries(asked.headers);
  // The library is of the time when this was a string.
  headers["Signature-Agent"] = `"${agent}"`;
  const created = new Date();
  const signed = await signatureHeaders({ method: "GET", url: asked.url, headers }, signer, {
    created,
    expires: new Date(created.getTime() + 600_000),
    components: [...asked.components, "signature-agent"],
  });
  const url = new URL(asked.url);
  const [hostname, port] = asked.connect.split(":");
  return new Promise((done, failed) => {
    const options = { hostname, port, path: url.pathname, headers: { ...headers, ...signed, Host: url.host } };
    const sent = httpRequest(options, (answer) => {
      let body = "";
      answer.on("data", (part) => (body += part));
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, body }));
    });
    sent.on("error", failed);
    sent.end();
  });
}

async function crawl(asked) {
  const first = await get(asked);
  if (first.status !== 402) return { first };
  const [currency, amount] = first.headers["crawler-price"].split(" ");
  const [ours, budget] = asked.budget.split(" ");
  if (currency !== ours || Number(amount) > Number(budget)) return { first };
  const headers = [...asked.headers, ["crawler-exact-price", `${currency} ${amount}`]];
  const components = [...asked.components, "crawler-exact-price"];
  return { first, second: await get({ ...asked, headers, components }) };
}

process.stdout.write(`${JSON.stringify({ directory: agent, keyid: signer.keyid })}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = asked.do === "crawl" ? await crawl(asked) : await get(asked);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
