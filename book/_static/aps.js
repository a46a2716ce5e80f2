// The bibliography is a list of items.
document.addEventListener("DOMContentLoaded", () => {
  for (const item of document.querySelectorAll("[role=list] > .citation")) item.setAttribute("role", "listitem");
});

// What scrolls can be reached by the keyboard and has a name.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".pst-scrollable-table-container, .bd-article pre, .bd-article div.math")) {
    if (box.tabIndex >= 0) continue;
    const reach = () => {
      if (box.scrollWidth <= box.clientWidth) return;
      box.tabIndex = 0;
      if (box.tagName !== "PRE") {
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", box.matches(".math") ? "Equation" : "Table");
      }
    };
    reach();
    window.addEventListener("load", () => setTimeout(reach, 1000));
    window.addEventListener("resize", reach);
  }
});

// A view says how high it is; its frame takes that height.
window.addEventListener("message", ({source, data}) => {
  const height = data?.apsHeight;
  if (!(height > 50 && height < 4000)) return;
  for (const frame of document.querySelectorAll("iframe.aps-view")) {
    if (frame.contentWindow === source) frame.style.height = `${height}px`;
  }
});
