// Counts a visit of the page, and shows the number wherever the page asks for it:
//   <script async src="https://…/static/counter.js" data-counter="NAME"></script>
//   <p data-count-line hidden>Seen <span data-count-of="NAME"></span> times.</p>
// A copy of this file on another host needs data-service="https://…", the service's address.
// No cookies, no dependencies. Where it is blocked, the line stays hidden.
(() => {
  const say = (problem, ...what) => console.error(`counter.js: ${problem}`, ...what);
  // Not in a module, nor under loaders that run scripts later; then it is any script with a name.
  const own = document.currentScript;
  const scripts = own ? [own] : [...document.querySelectorAll("script[data-counter]")];
  if (!scripts.length) say('the name is missing, add data-counter="NAME" to the script element');

  const addressOf = ({ dataset, src }, name) => {
    const source = src || dataset.rocketsrc;
    if (!dataset.service && !source) return null;
    try {
      const base = dataset.service?.replace(/\/*$/, "/") || new URL("..", source);
      return new URL(`counters/${encodeURIComponent(name)}/hits`, base);
    } catch {
      return null;
    }
  };

  const show = (name, digits) => {
    for (const place of document.querySelectorAll(`[data-count-of="${CSS.escape(name)}"]`)) {
      place.textContent = BigInt(digits).toLocaleString();
      place.closest("[data-count-line]")?.removeAttribute("hidden");
    }
  };

  const loaded = () => new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else document.addEventListener("DOMContentLoaded", resolve, { once: true });
  });

  const count = async (name, url) => {
    // Only a secure page has one. The hit has the same key when it is sent again, and counts once.
    const key = crypto.randomUUID?.();
    const keyed = key ? { "Idempotency-Key": `"${key}"` } : {};
    const send = (headers = keyed) => fetch(url, {
      method: "POST", mode: "cors", credentials: "omit", keepalive: true, headers,
    });
    try {
      let answer = await send().catch((error) => {
        if (key) return send();
        throw error;
      });
      let text = await answer.text();
      // The store's memory is too full for another key; nothing was counted.
      if (answer.status === 503 && text.includes('"reason": "idempotency_memory"')) {
        answer = await send({});
        text = await answer.text();
      }
      // Not parsed: a number of JavaScript's is exact to 53 bits, and a count has 64.
      const digits = text.match(/"value": (-?\d+)/)?.[1];
      if (!answer.ok || !digits) {
        const hint = answer.status < 500 ? '; a copy of this script needs data-service="https://…"' : "";
        say(`${url} answered ${answer.status}${hint}`);
        return;
      }
      await loaded();
      show(name, digits);
    } catch {
      say(`${url} was not reached; a filter blocks it, or COUNTER_CORS_ORIGINS does not allow ${location.origin}`);
    }
  };

  const visit = (script) => {
    const name = script.dataset.counter;
    if (!name) {
      say('the name is missing, write data-counter="NAME" in', script);
      return;
    }
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name) || /^\.{1,2}$|\.(json|txt|svg)$/.test(name)) {
      say(`the name "${name}" is invalid: use 1 to 64 letters, digits, dots, underscores and hyphens, without .json, .txt or .svg at the end`);
      return;
    }
    const url = addressOf(script, name);
    if (!url) {
      say('the address of the service is unknown or invalid: write data-service="https://…" in', script);
      return;
    }
    // The same counter twice in a page is one visit. The mark is in the page, and goes with it.
    const marked = [...document.querySelectorAll("script[data-counted]")];
    if (marked.some(({ dataset }) => dataset.counted === url.href)) return;
    script.dataset.counted = url.href;
    // A page that is prepared ahead is no visit until somebody looks at it.
    const begin = () => count(name, url);
    if (document.prerendering) document.addEventListener("prerenderingchange", begin, { once: true });
    else begin();
  };

  scripts.forEach(visit);
})();
