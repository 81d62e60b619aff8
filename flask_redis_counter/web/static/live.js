// Updates the numbers of a page with live values while the page is visible.
"use strict";
(() => {
  const { from } = document.currentScript.dataset;
  const numbers = [...document.querySelectorAll("data[data-live]")];
  const names = new Set(numbers.map((number) => number.dataset.live));
  const url = `${from}?${new URLSearchParams([...names].map((name) => ["name", name]))}`;
  const RETRY_MS = 30000;
  let source = null;
  let retryTimer = null;

  const show = (number, digits) => {
    number.value = digits;
    number.classList.toggle("long", digits.length > 7);
    // Line breaks are allowed between groups of digits, as in the templates.
    const groups = digits.replace(/\B(?=(\d{3})+$)/g, ",").split(/(?<=,)/);
    number.replaceChildren(...groups.flatMap((group) => [document.createElement("wbr"), group]).slice(1));
    const noun = number.nextElementSibling;
    if (noun?.dataset.many) noun.textContent = digits === "1" ? noun.dataset.one : noun.dataset.many;
  };

  const onMessage = ({ data }) => {
    const { name } = JSON.parse(data);
    // Not parsed as a number, which would lose digits beyond 2^53.
    const [, digits] = /"value": (-?\d+)/.exec(data);
    numbers.filter((number) => number.dataset.live === name).forEach((number) => show(number, digits));
  };

  const close = () => {
    clearTimeout(retryTimer);
    source?.close();
    source = null;
  };

  const open = () => {
    close();
    if (document.visibilityState !== "visible") return;
    source = new EventSource(url);
    source.onmessage = onMessage;
    source.onerror = () => {
      // The browser reconnects after a broken connection, but not after an error response.
      if (source?.readyState === EventSource.CLOSED) retryTimer = setTimeout(open, RETRY_MS);
    };
  };

  if (!names.size) return;
  document.addEventListener("visibilitychange", open);
  addEventListener("pageshow", open);
  addEventListener("pagehide", close);
})();
