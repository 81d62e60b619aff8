// Counts a visit of the page, and shows the number in marked elements:
//   <script async src="https://…/static/counter.js" data-counter="NAME"></script>
//   <p data-count-line hidden>Seen <span data-count-of="NAME"></span> times.</p>
// A copy of this file on another host needs data-service="https://…", the service's address.
// No cookies, no dependencies. If it is blocked, the line stays hidden.
(() => {
  const report = (problem, ...details) => console.error(`counter.js: ${problem}`, ...details);
  // Null in a module, and under loaders that run scripts later: then use all scripts with a name.
  const own = document.currentScript;
  const scripts = own ? [own] : [...document.querySelectorAll("script[data-counter]")];
  if (!scripts.length) report('the name is missing, add data-counter="NAME" to the script element');

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
    // randomUUID exists only in a secure context. A retry has the same key, and so counts once.
    const key = crypto.randomUUID?.();
    const withKey = key ? { "Idempotency-Key": `"${key}"` } : {};
    const send = (headers = withKey) => fetch(url, {
      method: "POST", mode: "cors", credentials: "omit", keepalive: true, headers,
    });
    try {
      let answer = await send().catch((error) => {
        if (key) return send();
        throw error;
      });
      let text = await answer.text();
      // The store has no memory for another key; nothing was counted.
      if (answer.status === 503 && text.includes('"reason": "idempotency_memory"')) {
        answer = await send({});
        text = await answer.text();
      }
      // Not JSON.parse: JavaScript numbers are exact to 53 bits, and counts have 64.
      const digits = text.match(/"value": (-?\d+)/)?.[1];
      if (!answer.ok || !digits) {
        const hint = answer.status < 500 ? '; a copy of this script needs data-service="https://…"' : "";
        report(`${url} answered ${answer.status}${hint}`);
        return;
      }
      await loaded();
      show(name, digits);
    } catch {
      report(`${url} cannot be reached: a filter blocks it, or COUNTER_CORS_ORIGINS does not allow ${location.origin}`);
    }
  };

  const visit = (script) => {
    const name = script.dataset.counter;
    if (!name) {
      report('the name is missing, write data-counter="NAME" in', script);
      return;
    }
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name) || /^\.{1,2}$|\.(json|txt|svg)$/.test(name)) {
      report(`the name "${name}" is invalid: use 1 to 64 letters, digits, dots, underscores and hyphens, without .json, .txt or .svg at the end`);
      return;
    }
    const url = addressOf(script, name);
    if (!url) {
      report('the address of the service is unknown or invalid: write data-service="https://…" in', script);
      return;
    }
    // Two scripts of one counter in a page are one visit. The mark is an attribute in the page.
    const marked = [...document.querySelectorAll("script[data-counted]")];
    if (marked.some(({ dataset }) => dataset.counted === url.href)) return;
    script.dataset.counted = url.href;
    // A prerendered page is not a visit until it is shown.
    const begin = () => count(name, url);
    if (document.prerendering) document.addEventListener("prerenderingchange", begin, { once: true });
    else begin();
  };

  scripts.forEach(visit);
})();
