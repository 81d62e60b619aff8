// Counts a visit of the page, and writes the number into each element of that counter:
//   <script async src="https://…/static/counter.js" data-counter="NAME"></script>
//   <span data-count-of="NAME"></span>
// No cookies, no dependencies. Where it is blocked, the page stays as it is.
(() => {
  const script = document.currentScript;
  const name = script?.dataset.counter;
  if (!name) return;
  const url = new URL(`../counters/${encodeURIComponent(name)}/hits`, script.src);
  // Only a secure page has one. The hit has the same key when it is sent again, and counts once.
  const key = crypto.randomUUID?.();
  const headers = key ? { "Idempotency-Key": `"${key}"` } : {};
  const send = () => fetch(url, {
    method: "POST", mode: "cors", credentials: "omit", keepalive: true, headers,
  });
  const loaded = () => new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else document.addEventListener("DOMContentLoaded", resolve, { once: true });
  });
  const count = async () => {
    try {
      const answer = await send().catch((error) => {
        if (key) return send();
        throw error;
      });
      // Not parsed: a number of JavaScript's is exact to 53 bits, and a count has 64.
      const digits = (await answer.text()).match(/"value": (-?\d+)/)?.[1];
      if (!answer.ok || !digits) return;
      await loaded();
      for (const place of document.querySelectorAll(`[data-count-of="${CSS.escape(name)}"]`)) {
        place.textContent = BigInt(digits).toLocaleString();
      }
    } catch {
      // No network, or somebody's filter: there is no number to show.
    }
  };
  // A page that is prepared ahead is no visit until somebody looks at it.
  if (document.prerendering) document.addEventListener("prerenderingchange", count, { once: true });
  else count();
})();
