// Lets the numbers of a page follow their counters for as long as somebody looks at it.
"use strict";
(() => {
  const { from } = document.currentScript.dataset;
  const numbers = [...document.querySelectorAll("data[data-live]")];
  const names = new Set(numbers.map((number) => number.dataset.live));
  const url = `${from}?${new URLSearchParams([...names].map((name) => ["name", name]))}`;
  const RETRY = 30000;
  let source = null;
  let again = null;

  const show = (number, digits) => {
    number.value = digits;
    number.classList.toggle("long", digits.length > 7);
    // A break between two groups, as the pages have it.
    const groups = digits.replace(/\B(?=(\d{3})+$)/g, ",").split(/(?<=,)/);
    number.replaceChildren(...groups.flatMap((group) => [document.createElement("wbr"), group]).slice(1));
    const noun = number.nextElementSibling;
    if (noun?.dataset.many) noun.textContent = digits === "1" ? noun.dataset.one : noun.dataset.many;
  };

  const hear = ({ data }) => {
    const { name } = JSON.parse(data);
    // Not as a number, which would lose digits beyond 2^53.
    const [, digits] = /"value": (-?\d+)/.exec(data);
    numbers.filter((number) => number.dataset.live === name).forEach((number) => show(number, digits));
  };

  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };

  const open = () => {
    close();
    if (document.visibilityState !== "visible") return;
    source = new EventSource(url);
    source.onmessage = hear;
    source.onerror = () => {
      // The browser itself comes back to what broke off, but not to what was refused.
      if (source?.readyState === EventSource.CLOSED) again = setTimeout(open, RETRY);
    };
  };

  if (!names.size) return;
  document.addEventListener("visibilitychange", open);
  addEventListener("pageshow", open);
  addEventListener("pagehide", close);
})();
