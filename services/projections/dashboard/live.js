// Keeps a page as it is in the ledger now, without loading it again, and lets charts answer to the pointer.
// Everything on a page is there without this script; a page of the past (data-pinned) is left alone.
"use strict";

(() => {
  const asof = document.querySelector("[data-position]");
  if (!asof) return;

  // ------------------------------------------------------------------------------------------- new numbers

  // Makes `old` like `fresh`, changing no node that is the same: focus, selection and open details stay.
  function become(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh.cloneNode(true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      const seen = old.parentElement && old.parentElement.closest("a, td, .status");
      if (seen) {
        seen.classList.remove("moved");
        void seen.offsetWidth; // so that the animation starts again
        seen.classList.add("moved");
      }
      return;
    }
    if (old.classList.contains("live")) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open" && name !== "hidden") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const olds = [...old.childNodes].filter((node) => !node.classList || !node.classList.contains("live"));
    const news = [...fresh.childNodes];
    news.forEach((node, place) => {
      if (place < olds.length) become(olds[place], node);
      else old.append(node.cloneNode(true));
    });
    olds.slice(news.length).forEach((node) => node.remove());
  }

  let shown = Number(asof.dataset.position);
  let wanted = shown;
  let travelling = false; // somebody moved through time: the page is to be as the address says
  let fetching = false;

  const isPinned = () => asof.hasAttribute("data-pinned");

  async function refresh() {
    if (fetching) return;
    fetching = true;
    try {
      while (travelling || (shown < wanted && !isPinned())) {
        const moved = travelling;
        const address = location.href;
        const now = new URL(address);
        if (!moved) now.searchParams.set("min_position", wanted);
        const answer = await fetch(now, { headers: { Accept: "text/html" }, cache: "no-cache" });
        if (answer.status === 404 && moved) {
          travelling = false;
          say("nothing is known of it on that day", true);
          continue;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        if (moved) connection.hidden = isPinned();
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const position = Number(fresh.querySelector("[data-position]").dataset.position);
        if (position < wanted && !moved) throw new Error("it is not there yet");
        if (address === location.href) travelling = false;
        becomeAll(fresh, moved ? 150 : 0);
        shown = position;
        document.dispatchEvent(new CustomEvent("muster:shown", { detail: { position } }));
      }
    } catch {
      say("could not be brought up to date, trying again", true);
      setTimeout(refresh, 1000);
    } finally {
      fetching = false;
    }
  }

  // Shows a fresh page; its pictures follow, once nothing newer came for `wait` milliseconds.
  function becomeAll(fresh, wait) {
    const pictures = kept(fresh);
    for (const part of document.querySelectorAll("[data-live]")) {
      const its = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (its) become(part, its);
    }
    clearTimeout(becomeAll.later);
    becomeAll.later = setTimeout(() => {
      const asked = becomeAll.later;
      pictures.forEach(([old, next]) => {
        preload(next.querySelector("img")).then(() => asked === becomeAll.later && become(old, next));
      });
      redraw();
    }, wait);
  }

  // Numbers come first: lets the fresh page keep the pictures that are shown, and gives those that shall follow.
  function kept(fresh) {
    const olds = [...document.querySelectorAll("figure.chart picture")];
    return [...fresh.querySelectorAll("figure.chart picture")].slice(0, olds.length).map((picture, place) => {
      const next = picture.cloneNode(true);
      picture.replaceWith(olds[place].cloneNode(true));
      return [olds[place], next];
    });
  }

  // Loads an image before it is shown, so that the old one stays until then.
  function preload(image) {
    const source = [...image.parentElement.querySelectorAll("source")].find((one) => matchMedia(one.media).matches);
    const loading = new Image();
    loading.src = source ? source.getAttribute("srcset") : image.getAttribute("src");
    return Promise.race([loading.decode().catch(() => {}), new Promise((done) => setTimeout(done, 3000))]);
  }

  // ---------------------------------------------------------------------------------------- the connection

  const connection = document.getElementById("connection");

  function say(words, away = false) {
    connection.hidden = false;
    connection.textContent = words;
    connection.classList.toggle("away", away);
  }

  // A page of now listens; a page of the past has nothing to hear.
  let source = null;

  function listen() {
    if (source) source.close();
    source = null;
    connection.hidden = true;
    if (isPinned() || !("EventSource" in window)) return;
    source = new EventSource("/v1/changes");
    source.addEventListener("moved", (event) => {
      const { position, lag_s } = JSON.parse(event.data);
      say(lag_s > 0 ? `live, ${lag_s} s behind` : "live");
      wanted = position < shown ? shown : position;
      refresh();
    });
    source.addEventListener("error", () => say("not connected, trying again", true));
  }

  listen();
  // A page in the back/forward cache may not hold a connection.
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());

  // ----------------------------------------------------------------------------------- moving through time

  const form = document.querySelector("form.travel");
  const through = document.getElementById("through");
  const DAY = 86400000;

  if (form && through) {
    const first = Date.parse(through.dataset.first);
    const days = Math.round((Date.parse(through.dataset.last) - first) / DAY);
    const dayOf = (value) => new Date(first + value * DAY).toISOString().slice(0, 10);
    const said = Date.parse(form.elements.on.value);
    through.max = String(days);
    through.value = String(Number.isNaN(said) ? days : Math.round((said - first) / DAY));
    through.setAttribute("aria-valuetext", dayOf(Number(through.value)));
    through.closest("label").hidden = days < 1;
    through.addEventListener("input", () => {
      const isNow = Number(through.value) === days;
      const on = dayOf(Number(through.value));
      const address = new URL(location.href);
      if (isNow) address.searchParams.delete("on");
      else address.searchParams.set("on", on);
      through.setAttribute("aria-valuetext", on);
      form.elements.on.value = isNow ? "" : on;
      form.querySelector(".now").hidden = !address.searchParams.has("on") && !address.searchParams.has("known");
      history.replaceState(null, "", address);
      const wasPinned = isPinned();
      asof.toggleAttribute("data-pinned", address.searchParams.has("on") || address.searchParams.has("known"));
      if (wasPinned !== isPinned()) listen();
      travelling = true;
      refresh();
    });
  }

  // ------------------------------------------------------------------------------------------- live charts

  let library = null;

  function load() {
    library ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = "/charts.js";
      script.onload = done;
      script.onerror = failed;
      document.head.append(script);
    });
    return library;
  }

  const theme = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map(); // figure -> Vega's view, or null while the first is being made

  async function draw(figure) {
    const picture = figure.querySelector("picture");
    const width = Math.max(280, Math.min(1600, Math.round(figure.clientWidth)));
    const address = `${figure.dataset.chart}&width=${width}&theme=${theme.matches ? "dark" : "light"}`;
    const [answer] = await Promise.all([fetch(address), load()]);
    if (!answer.ok) throw new Error(String(answer.status));
    const box = document.createElement("div");
    box.className = "live";
    const embedded = await window.vegaEmbed(box, await answer.json(), {
      actions: false,
      ast: true, // with the interpreter: the page's policy lets nobody evaluate text
      defaultStyle: false,
      renderer: "svg",
      tooltip: { disableDefaultStyle: true },
    });
    const before = drawn.get(figure);
    if (before) before.finalize();
    drawn.set(figure, embedded);
    figure.querySelectorAll(":scope > .live").forEach((old) => old.remove());
    figure.insertBefore(box, picture.nextSibling);
    picture.hidden = true;
  }

  async function explore(figure) {
    if (drawn.has(figure)) return;
    drawn.set(figure, null);
    try {
      await draw(figure);
    } catch {
      drawn.delete(figure); // the picture is still there
    }
  }

  function redraw() {
    for (const figure of drawn.keys()) {
      if (!figure.isConnected) drawn.delete(figure);
      else draw(figure).catch(() => {});
    }
  }

  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const figure = event.target.closest && event.target.closest("figure[data-chart]");
      if (figure) explore(figure);
    });
  }
  theme.addEventListener("change", redraw);
  addEventListener("resize", () => {
    clearTimeout(redraw.later);
    redraw.later = setTimeout(redraw, 200);
  });
})();
