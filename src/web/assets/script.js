// Everything here is a convenience: each page reads and acts without it.
"use strict";
(() => {
  const format = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

  // Times in the viewer's zone; UTC stays on hover.
  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime.replace(/(\.\d{3})\d*Z$/, "$1Z"));
      if (!Number.isNaN(at.getTime())) time.textContent = format.format(at);
    }
    const shown = document.getElementById("zone");
    if (shown) shown.textContent = zone + "; hover for UTC";
    for (const field of root.querySelectorAll("input[type=hidden][name=offset_minutes]")) {
      field.value = String(-new Date().getTimezoneOffset());
    }
  };
  localise(document);

  // Live: the stream says that something changed; the page is fetched again and its content replaced. Nothing is
  // replaced under somebody's hands.
  const busy = () => {
    const at = document.activeElement;
    return (at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) || document.querySelector("main details[open]") !== null
      || String(window.getSelection()) !== "";
  };
  const refresh = async () => {
    if (busy() || document.hidden) return;
    const answer = await fetch(location.href, { headers: { "x-refresh": "1" }, redirect: "manual" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    const main = document.querySelector("main");
    if (!fresh || !main || busy()) return;
    const focus = document.activeElement && document.activeElement.getAttribute("href");
    localise(fresh);
    main.replaceChildren(...fresh.childNodes);
    if (focus) {
      for (const link of main.querySelectorAll("a[href]")) {
        if (link.getAttribute("href") === focus) { link.focus({ preventScroll: true }); break; }
      }
    }
  };
  const pulse = document.getElementById("pulse");
  if (document.body.hasAttribute("data-live") && window.EventSource) {
    let due = 0;
    const stream = new EventSource("/api/v1/events");
    stream.addEventListener("open", () => { pulse.hidden = false; pulse.classList.remove("lost"); pulse.textContent = "live"; });
    stream.addEventListener("error", () => { pulse.hidden = false; pulse.classList.add("lost"); pulse.textContent = "reconnecting"; });
    stream.addEventListener("changed", () => {
      // At most one page in two seconds, however fast things change.
      if (due) return;
      due = window.setTimeout(() => { due = 0; refresh().catch(() => {}); }, 2000);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh().catch(() => {}); });
    window.addEventListener("pagehide", () => stream.close());
  }

  // Keys: g then a letter goes to a page, j and k walk the list, / searches.
  let went = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    } else if (event.key === "g") {
      went = Date.now();
    } else if (Date.now() - went < 1500) {
      const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      went = 0;
      if (link) link.click();
    } else if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll(".incidents .title a, td.name a")];
      if (!links.length) return;
      const at = links.indexOf(document.activeElement);
      links[Math.max(0, Math.min(links.length - 1, event.key === "j" ? at + 1 : at - 1))].focus();
    }
  });
})();
