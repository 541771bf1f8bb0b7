// What the console does beyond links and forms, all of it optional: keys, copying, the mark of the row in hand.
(() => {
  "use strict";
  const root = document.documentElement;
  if (!root.dataset.bsTheme) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => root.setAttribute("data-bs-theme", dark.matches ? "dark" : "light");
    follow();
    dark.addEventListener("change", follow);
  }
  const rows = () => [...document.querySelectorAll("tr[data-href]")];
  const inHand = () => document.querySelector("tr.in-hand");
  const typing = (place) => place.closest("input, select, textarea, [contenteditable]") !== null;

  function hold(row) {
    inHand()?.classList.remove("in-hand");
    row.classList.add("in-hand");
    (row.querySelector("a") ?? row).focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(inHand());
    hold(all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
  }

  async function offer(field) {
    // A number in the clipboard is offered, never sent; the browser asks once whether it may be read.
    try {
      const state = await navigator.permissions.query({ name: "clipboard-read" });
      if (state.state === "denied") return;
      const text = (await navigator.clipboard.readText()).trim();
      if (/^[\w-]{6,64}$/.test(text) && /\d/.test(text) && !field.value) {
        field.value = text;
        field.select();
      }
    } catch { /* not offered here */ }
  }

  const keys = {
    "/": () => {
      const field = document.getElementById("search");
      if (field) { field.focus(); field.select(); offer(field); }
    },
    j: () => move(1),
    k: () => move(-1),
    n: () => document.getElementById("next")?.click(),
    e: () => document.getElementById("export")?.click(),
    "?": () => document.getElementById("keys")?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (typing(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter") {
      const row = inHand();
      if (row && !event.target.closest("a, button")) location.assign(row.dataset.href);
      return;
    }
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      event.preventDefault();
      await navigator.clipboard?.writeText(copy.dataset.copy);
      copy.title = document.body.dataset.copied;
      copy.classList.add("copied");
      setTimeout(() => copy.classList.remove("copied"), 1200);
      return;
    }
    const row = event.target.closest("tr[data-href]");
    if (row && !event.target.closest("a, button, form") && !String(getSelection())) {
      location.assign(row.dataset.href);
    }
  });

  // A form that was sent is not sent again by a second click; back brings it alive again.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.defaultPrevented) return;
    setTimeout(() => {
      for (const button of event.target.querySelectorAll("button")) button.disabled = true;
    });
  });
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form[method=post] button")) button.disabled = false;
  });

  // An export is saved as it comes, and says how far it is; one that is cut off is never saved as a whole one.
  const lines = (chunk) => chunk.reduce((count, byte) => count + (byte === 10 ? 1 : 0), 0);

  async function save(link) {
    const place = document.getElementById("exporting");
    const stop = document.createElement("button");
    const count = document.createElement("span");
    const ending = new AbortController();
    stop.type = "button";
    stop.className = "btn btn-sm btn-ghost-secondary";
    stop.textContent = link.dataset.stop;
    stop.addEventListener("click", () => ending.abort());
    place.replaceChildren(count, stop);
    link.setAttribute("aria-disabled", "true");
    try {
      const answer = await fetch(link.href, { signal: ending.signal });
      const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "");
      if (!answer.ok || !name) { location.assign(link.href); return; }
      const parts = [];
      let rows = -1; // the head is no row
      for (const from = answer.body.getReader(); ;) {
        const { done, value } = await from.read();
        if (done) break;
        parts.push(value);
        rows += lines(value);
        count.textContent = `${rows.toLocaleString()} ${link.dataset.rows} `;
      }
      const file = document.createElement("a");
      file.href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
      file.download = name[1];
      file.click();
      setTimeout(() => URL.revokeObjectURL(file.href), 60000);
      place.textContent = `✓ ${link.dataset.done} ${rows.toLocaleString()} ${link.dataset.rows}`;
    } catch {
      place.textContent = ending.signal.aborted ? "" : `✗ ${link.dataset.cut}`;
    } finally {
      link.removeAttribute("aria-disabled");
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#export");
    if (!link) return;
    event.preventDefault();
    if (link.getAttribute("aria-disabled") !== "true") save(link);
  });

  // Which groups of the navigation an operator keeps open; the one of this page is open anyway.
  const opened = () => new Set((localStorage.getItem("opened") ?? "").split("|").filter(Boolean));

  function keepGroups() {
    if (matchMedia("(max-width: 800px)").matches) return;
    const kept = opened();
    for (const group of document.querySelectorAll(".side details")) {
      if (kept.has(group.dataset.group)) group.open = true;
      // A hand's doing alone: the group of each page that is looked at is opened, too.
      group.querySelector("summary").addEventListener("click", () => {
        const now = opened();
        now[group.open ? "delete" : "add"](group.dataset.group);
        localStorage.setItem("opened", [...now].join("|"));
      });
    }
  }

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    for (const one of document.querySelectorAll("input[name=item]")) one.checked = event.target.checked;
  });

  // The overview renews itself: parts that changed are put in place, except the one that a person is in.
  function listen() {
    const place = document.getElementById("live");
    if (!place?.dataset.stream || !window.EventSource) return;
    const from = new EventSource(place.dataset.stream);
    from.addEventListener("message", (event) => {
      const come = new DOMParser().parseFromString(event.data, "text/html");
      for (const part of come.querySelectorAll("[data-part]")) {
        const there = place.querySelector(`[data-part="${part.dataset.part}"]`);
        if (!there || there.contains(document.activeElement) || there.querySelector("details[open]")) continue;
        if (there.innerHTML !== part.innerHTML) there.replaceChildren(...part.childNodes);
      }
      ready();
    });
    from.addEventListener("ended", () => { from.close(); location.reload(); });
    addEventListener("pagehide", () => from.close());
  }
  document.addEventListener("DOMContentLoaded", listen);

  const ready = () => {
    for (const copy of document.querySelectorAll("[data-copy], [data-scripted]")) copy.hidden = false;
  };
  document.addEventListener("DOMContentLoaded", keepGroups);
  document.addEventListener("DOMContentLoaded", ready);
  document.addEventListener("htmx:after:swap", ready);
})();
