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

// The first version, HMAC-SHA256: names and values as they are, and no first line.
function signV1(method, path, params, body, key) {
  const shown = Object.keys(params)
    .filter((name) => name !== "sign")
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => `${name}=${params[name]}`)
    .join("&");
  const digest = createHash("sha256").update(body).digest("hex");
  return createHmac("sha256", key).update([method, path, shown, digest].join("\n")).digest("hex");
}

module.exports = { sign, signV1 };

if (require.main === module) {
  // lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2
  const text = (digits) => Buffer.from(digits, "hex").toString();
  for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [method, path, key, body, pairs, version] = line.split("\t");
    const params = {};
    for (const pair of pairs.split("&")) {
      const [name, value] = pair.split("=");
      params[text(name)] = text(value);
    }
    console.log((version === "2" ? sign : signV1)(method, path, params, Buffer.from(body, "hex"), key));
  }
}
