// A paying client that others wrote: @x402/fetch with the EVM scheme and a viem account.
// node pay.mjs URL KEY USER-AGENT: fetches, pays what the 402 asks, and prints what came as one JSON object.
import { x402Client, wrapFetchWithPayment, decodePaymentResponseHeader } from "@x402/fetch";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, userAgent] = process.argv.slice(2);
const client = new x402Client();
registerExactEvmScheme(client, { signer: privateKeyToAccount(key) });
const seen = [];
const counted = async (request) => {
  const response = await fetch(request);
  seen.push(response.status);
  return response;
};
const pay = wrapFetchWithPayment(counted, client);
const response = await pay(url, { headers: { "user-agent": userAgent } });
const result = response.headers.get("payment-response") ?? response.headers.get("x-payment-response");
console.log(JSON.stringify({
  status: response.status,
  body: await response.text(),
  statuses: seen,
  settlement: result && decodePaymentResponseHeader(result),
  version: response.headers.has("payment-response") ? 2 : 1,
}));
