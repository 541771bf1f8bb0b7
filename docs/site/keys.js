// What is wider than its place is reached by keys, too: code, and the tables that the theme wraps.
const mark = () => {
  for (const one of document.querySelectorAll(".md-typeset__scrollwrap, pre > code")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  }
};
new MutationObserver(mark).observe(document.body, { childList: true, subtree: true });
for (const event of ["load", "resize", "change"]) addEventListener(event, mark);
mark();
