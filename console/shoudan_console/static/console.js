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
    // A number in the clipboard is offered, never sent; where the browser refuses, nothing happens.
    try {
      const state = await navigator.permissions.query({ name: "clipboard-read" });
      if (state.state !== "granted") return;
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

  const ready = () => {
    for (const copy of document.querySelectorAll("[data-copy]")) copy.hidden = false;
  };
  document.addEventListener("DOMContentLoaded", ready);
  document.addEventListener("htmx:after:swap", ready);
})();
