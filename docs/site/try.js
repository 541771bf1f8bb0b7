// The page where calls are tried: of files/calls.json a form, of the form a signed call to this very gateway.
(() => {
  const page = document.getElementById("try");
  if (!page) return;
  const at = (name) => document.getElementById(`try-${name}`);
  const words = page.dataset;
  const SIGNING = ["sign_type", "timestamp", "nonce", "sign"];
  const kept = {}; // what was entered, by its name: the next call begins with it
  let calls = [];

  // ---- signing: version 2, as the page on signing says. Of our own, because browsers give theirs to TLS alone.
  const K = [];
  const H = [];
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
  for (let n = 2; K.length < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) prime = prime && n % d !== 0;
    if (!prime) continue;
    if (H.length < 8) H.push(fraction(Math.sqrt(n)));
    K.push(fraction(Math.cbrt(n)));
  }
  const sha256 = (bytes) => {
    const data = new Uint8Array(((bytes.length + 8) >> 6) * 64 + 64);
    data.set(bytes);
    data[bytes.length] = 128;
    const view = new DataView(data.buffer);
    view.setUint32(data.length - 4, bytes.length * 8);
    const turn = (x, by) => (x >>> by) | (x << (32 - by));
    const hash = [...H];
    const w = new Int32Array(64);
    for (let from = 0; from < data.length; from += 64) {
      for (let i = 0; i < 64; i++) {
        if (i < 16) w[i] = view.getInt32(from + i * 4);
        else {
          const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
          const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
          w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
      }
      let [a, b, c, d, e, f, g, h] = hash;
      for (let i = 0; i < 64; i++) {
        const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
        const one = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
        const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((value, i) => (hash[i] = (hash[i] + value) | 0));
    }
    const made = new DataView(new ArrayBuffer(32));
    hash.forEach((value, i) => made.setInt32(i * 4, value));
    return new Uint8Array(made.buffer);
  };
  const utf8 = (text) => new TextEncoder().encode(text);
  const joined = (a, b) => Uint8Array.of(...a, ...b);
  const hex = (bytes) => [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  const hmac = (key, text) => {
    const block = new Uint8Array(64);
    block.set(key.length > 64 ? sha256(key) : key);
    const inner = sha256(joined(block.map((one) => one ^ 0x36), utf8(text)));
    return hex(sha256(joined(block.map((one) => one ^ 0x5c), inner)));
  };
  const encoded = (text) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  const signed = (method, path, params, key) => {
    const order = (a, b) => (hex(utf8(a)) < hex(utf8(b)) ? -1 : 1); // by bytes, not as scripts compare
    const names = Object.keys(params).filter((name) => name !== "sign").sort(order);
    const shown = names.map((name) => `${encoded(name)}=${encoded(params[name])}`).join("&");
    const text = ["HMAC-SHA256-V2", method, path, shown, hex(sha256(new Uint8Array()))].join("\n");
    return [text, hmac(utf8(key), text)];
  };
  window.shoudanSign = signed;

  // ---- the form
  const made = (tag, text, attributes = {}) => {
    const one = document.createElement(tag);
    if (text) one.textContent = text;
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    return one;
  };
  const chosen = () => calls.find((one) => one.id === at("call").value);
  const first = (row) => {
    if (row.name in kept) return kept[row.name];
    if (row.name === "request_no" || row.name === "refund_no") {
      return `try-${row.name[2] === "q" ? "o" : "r"}${Math.floor(Date.now() / 1000)}`;
    }
    return row.name === "notify_url" ? "" : row.example;
  };
  const field = (row) => {
    const id = `try-row-${row.name}`;
    const box = made("div", "", { class: "try-row" });
    const label = made("label", "", { for: id });
    label.append(made("code", row.name), made("span", row.about));
    if (row.required) label.append(made("em", words.required));
    const input = made(row.values ? "select" : "input", "", { id, name: row.name });
    for (const value of row.values ? ["", ...row.values] : []) input.append(made("option", value, { value }));
    if (!row.values) for (const [name, value] of [["autocomplete", "off"], ["spellcheck", "false"]]) input.setAttribute(name, value);
    if (row.required) input.required = true;
    input.dataset.place = row.place;
    input.value = first(row);
    box.append(label, input);
    return box;
  };
  const show = () => {
    const call = chosen();
    at("about").replaceChildren(made("code", `${call.method} ${call.path}`), " ", made("a", words.page, { href: call.page }));
    const rows = call.rows.filter((row) => !(call.signed && SIGNING.includes(row.name)));
    at("rows").replaceChildren(...rows.map(field));
    at("none").hidden = rows.length > 0;
    at("body-row").hidden = call.body === null;
    at("body").value = call.body ?? "";
    at("secret-row").hidden = !(call.signed || call.bearer);
    at("secret-label").textContent = call.bearer ? words.token : words.secret;
    at("unsigned").hidden = call.signed || call.bearer;
    at("sure-row").hidden = !call.writes;
    at("sure").required = call.writes;
    at("sure").checked = false;
    at("answer").hidden = true;
    history.replaceState(null, "", `#${call.id}`);
  };

  // ---- the call
  const request = (call) => {
    const params = {};
    const headers = {};
    let path = call.path;
    for (const input of at("rows").querySelectorAll("input, select")) {
      kept[input.name] = input.value;
      if (!input.value) continue;
      if (input.dataset.place === "path") path = path.replace(`{${input.name}}`, encodeURIComponent(input.value));
      else (input.dataset.place === "header" ? headers : params)[input.name] = input.value;
    }
    let text = "";
    const secret = at("secret").value.trim();
    if (call.signed && secret) {
      params.sign_type = "HMAC-SHA256-V2";
      params.timestamp = String(Math.floor(Date.now() / 1000));
      params.nonce = hex(crypto.getRandomValues(new Uint8Array(16)));
      [text, params.sign] = signed(call.method, path, params, secret);
    }
    if (call.bearer && secret) headers.Authorization = `Bearer ${secret}`;
    if (call.body !== null) headers["Content-Type"] = "application/json";
    const query = Object.keys(params).map((name) => `${encoded(name)}=${encoded(params[name])}`).join("&");
    const body = call.body === null ? undefined : at("body").value;
    return [path + (query ? `?${query}` : ""), { method: call.method, headers, body, redirect: "manual" }, text];
  };
  const shape = (text) => {
    try {
      // Only laid out: numbers stay as they were sent.
      JSON.parse(text);
      let depth = 0;
      return text.replace(/"(?:[^"\\]|\\.)*"|[{}[\],:]|\s+/g, (one) => {
        const line = (by) => `\n${"  ".repeat((depth += by))}`;
        if (/^\s/.test(one)) return "";
        if (one === "{" || one === "[") return one + line(1);
        if (one === "}" || one === "]") return line(-1) + one;
        return one === "," ? one + line(0) : one === ":" ? ": " : one;
      });
    } catch {
      return text;
    }
  };
  const send = async (event) => {
    event.preventDefault();
    const call = chosen();
    const [address, options, text] = request(call);
    at("send").disabled = true;
    at("sent").textContent = `${options.method} ${location.origin}${address}`;
    at("text-row").hidden = !text;
    at("text").textContent = text;
    const began = performance.now();
    try {
      const answer = await fetch(address, { ...options, signal: AbortSignal.timeout(30000) });
      const body = await answer.text();
      const ms = Math.round(performance.now() - began);
      at("status").textContent = `HTTP ${answer.status} · ${ms} ms`;
      at("headers").textContent = [...answer.headers].filter(([name]) => /^(x-|shoudan-|idempotent-|retry-|deprec|sunset|content-type)/.test(name)).map(([name, value]) => `${name}: ${value}`).join("\n");
      at("reply").textContent = shape(body);
    } catch {
      at("status").textContent = words.unknown;
      at("headers").textContent = "";
      at("reply").textContent = "";
    }
    at("answer").hidden = false;
    at("send").disabled = false;
    at("status").focus();
  };

  const begin = async () => {
    for (const one of page.querySelectorAll(".try-host")) one.textContent = location.host;
    calls = await (await fetch(words.calls)).json();
    const groups = new Map();
    for (const one of calls) {
      if (!groups.has(one.protocol)) groups.set(one.protocol, made("optgroup", "", { label: one.protocol }));
      groups.get(one.protocol).append(made("option", `${one.title}  ${one.path}`, { value: one.id }));
    }
    at("call").replaceChildren(...groups.values());
    const wanted = location.hash.slice(1);
    at("call").value = calls.some((one) => one.id === wanted) ? wanted : words.first;
    at("call").addEventListener("change", show);
    at("form").addEventListener("submit", send);
    addEventListener("hashchange", () => {
      const id = location.hash.slice(1);
      if (id !== at("call").value && calls.some((one) => one.id === id)) {
        at("call").value = id;
        show();
      }
    });
    show();
    at("form").hidden = false;
  };
  begin();
})();
