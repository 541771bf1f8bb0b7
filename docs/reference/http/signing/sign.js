// HMAC-SHA256-V2 of a call, for clients in Node.js.
const { createHash, createHmac } = require("node:crypto");
const { readFileSync } = require("node:fs");

// encodeURIComponent leaves ! ' ( ) * as they are.
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

// params: an object of those of query and body together; body: a Buffer, empty of a GET.
function sign(method, path, params, body, key) {
  const shown = Object.keys(params)
    .filter((name) => name !== "sign")
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => `${encoded(name)}=${encoded(params[name])}`)
    .join("&");
  const digest = createHash("sha256").update(body).digest("hex");
  const text = ["HMAC-SHA256-V2", method, path, shown, digest].join("\n");
  return createHmac("sha256", key).update(text).digest("hex");
}

module.exports = { sign };

if (require.main === module) {
  // lines of method, path, key, body and name=value&…, the last two in hex
  const text = (digits) => Buffer.from(digits, "hex").toString();
  for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [method, path, key, body, pairs] = line.split("\t");
    const params = {};
    for (const pair of pairs.split("&")) {
      const [name, value] = pair.split("=");
      params[text(name)] = text(value);
    }
    console.log(sign(method, path, params, Buffer.from(body, "hex"), key));
  }
}
