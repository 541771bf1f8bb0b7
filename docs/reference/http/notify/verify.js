// Whether a notify is ours: Standard Webhooks, for receivers in Node.js.
const { createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

const OFF_S_MAX = 300;

function keyOf(secret) {
  const text = secret.slice(6);
  if (!secret.startsWith("whsec_") || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    return Buffer.from(secret);
  }
  return Buffer.from(text, "base64");
}

// headers: by their names in lower case; body: a Buffer as it came; several secrets while they are exchanged.
function verify(secrets, headers, body, now = Date.now() / 1000) {
  const id = headers["webhook-id"] ?? "";
  const stamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]+$/.test(stamp) || Math.abs(now - Number(stamp)) > OFF_S_MAX) return false;
  const given = (headers["webhook-signature"] ?? "").split(" ").filter((one) => one.startsWith("v1,"));
  let right = false;
  for (const secret of secrets) {
    const made = createHmac("sha256", keyOf(secret)).update(`${id}.${stamp}.`).update(body).digest("base64");
    for (const one of given) {
      const [a, b] = [Buffer.from(one.slice(3)), Buffer.from(made)];
      if (a.length === b.length && timingSafeEqual(a, b)) right = true;
    }
  }
  return right;
}

module.exports = { verify };

if (require.main === module) {
  // lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now
  for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [secret, id, stamp, signature, body, now] = line.split("\t");
    const headers = { "webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature };
    console.log(verify(secret.split(" "), headers, Buffer.from(body, "hex"), Number(now)) ? "yes" : "no");
  }
}
