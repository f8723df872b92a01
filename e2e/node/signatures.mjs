// Signs and verifies with `http-message-sig` and `web-bot-auth`: a JSON object a line in, one a line out. What goes in and
// out is what ../python/signatures.py has, and `implementation`.

import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;

const sig = await import("http-message-sig");
const bot = await import("web-bot-auth");
const { signerFromJWK, verifierFromJWK } = await import("web-bot-auth/crypto");

const WEBCRYPTO = {
  ed25519: { name: "Ed25519" },
  "rsa-pss-sha512": { name: "RSA-PSS", hash: "SHA-512" },
};

let rsaPair;

async function newPair(algorithm) {
  if (algorithm === "ed25519") return crypto.subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  // These take long to make.
  rsaPair ??= await crypto.subtle.generateKey(
    { name: "RSA-PSS", hash: "SHA-512", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    true,
    ["sign", "verify"],
  );
  return rsaPair;
}

function required(jwk) {
  if (jwk.kty === "OKP") return { crv: jwk.crv, kty: jwk.kty, x: jwk.x };
  return { e: jwk.e, kty: jwk.kty, n: jwk.n };
}

async function thumbprint(jwk) {
  const text = new TextEncoder().encode(JSON.stringify(required(jwk)));
  return Buffer.from(await crypto.subtle.digest("SHA-256", text)).toString("base64url");
}

// The request as `http-message-sig` takes it where the fields are to stay as they are.
function described(asked) {
  const fields = asked.headers.map(([name, value]) => ({ name, value }));
  const path = asked.url.slice(asked.url.indexOf("/", 8));
  return { kind: "request", method: asked.method, targetUri: asked.url, requestTarget: path, fields };
}

// The request as `web-bot-auth` takes it.
function plain(asked) {
  const headers = {};
  for (const [name, value] of asked.headers) (headers[name.toLowerCase()] ??= []).push(value);
  return { method: asked.method, url: asked.url, headers };
}

// `"name";key="k"` and the like, as the libraries want them.
function parsed(component) {
  const [, name, key] = component.match(/^"([^"]+)"(?:;key="([^"]+)")?$/);
  return key === undefined ? name : { name, parameters: { key } };
}

async function sign(asked) {
  const { privateKey, publicKey } = await newPair(asked.algorithm);
  const jwk = required(await crypto.subtle.exportKey("jwk", publicKey));
  const keyid = await thumbprint(jwk);
  if (asked.implementation === "web-bot-auth") {
    const secret = { ...(await crypto.subtle.exportKey("jwk", privateKey)), kid: keyid };
    const made = await bot.signatureHeaders(plain(asked), await signerFromJWK(secret), {
      created: new Date(asked.created * 1000),
      expires: new Date(asked.expires * 1000),
      nonce: asked.nonce ?? undefined,
      key: asked.label,
      components: asked.components.map(parsed),
    });
    return { input: made["Signature-Input"], signature: made.Signature, jwk };
  }
  const parameters = { created: asked.created, expires: asked.expires, keyid };
  if (asked.nonce !== null) parameters.nonce = asked.nonce;
  if (asked.alg) parameters.alg = asked.algorithm;
  if (asked.tag !== null) parameters.tag = asked.tag;
  const made = await sig.createSignature(described(asked), {
    label: asked.label,
    components: asked.components.map(parsed),
    parameters,
    signer: sig.webcrypto.signer(privateKey),
  });
  return { input: made.signatureInput, signature: made.signature, jwk };
}

async function verify(asked) {
  if (asked.implementation === "web-bot-auth") {
    await bot.verify(plain(asked), await verifierFromJWK({ ...asked.jwk, kid: "ours" }));
    return { ok: true };
  }
  const key = await crypto.subtle.importKey("jwk", asked.jwk, WEBCRYPTO[asked.algorithm], true, ["verify"]);
  await sig.verifySignature(described(asked), {
    policy: {
      algorithms: [asked.algorithm],
      requiredComponents: [],
      requiredParameters: ["created", "expires", "keyid"],
      clockSkew: 60,
      validate: ({ parameters }) => asked.tag === null || parameters.tag === asked.tag,
    },
    resolveVerifier: () => sig.webcrypto.verifier(key),
  });
  return { ok: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    answer = asked.do === "sign" ? await sign(asked) : await verify(asked);
  } catch (error) {
    answer = { ok: false, error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
