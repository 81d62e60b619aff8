// Measures the rendered page: texts, contrast, headings, links, images and widths.
() => {
  // Colours as WCAG 2 has them: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
  const parse = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\d.]+/g).map(Number);
    return { rgb: [red, green, blue], alpha };
  };
  const over = (front, back) => front.rgb.map(
    (value, at) => value * front.alpha + back[at] * (1 - front.alpha));
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) => value / 255).map(
      (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const canvas = () => (matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255]);
  const behind = (element) => {
    if (!element) return canvas();
    const color = parse(getComputedStyle(element).backgroundColor);
    return color.alpha === 1 ? color.rgb : over(color, behind(element.parentElement));
  };

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility()) continue;
    const back = behind(element);
    const ink = over(parse(getComputedStyle(element).color), back);
    texts.push({ text, tag: element.tagName.toLowerCase(), contrast: contrast(ink, back) });
  }

  // Each line of the large number, as the browser has broken it.
  const lines = [];
  for (const node of document.querySelector("data.number")?.childNodes ?? []) {
    const range = document.createRange();
    for (let at = 0; at < node.textContent.length; at += 1) {
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      const { top } = range.getBoundingClientRect();
      if (top !== lines.at(-1)?.top) lines.push({ top, text: "" });
      lines.at(-1).text += node.textContent[at];
    }
  }

  const root = document.documentElement;
  return {
    title: document.title,
    language: root.lang,
    headings: [...document.querySelectorAll("h1")].map((heading) => heading.innerText),
    // What is folded away is not fetched until somebody unfolds it.
    images: [...document.images].filter((image) => image.checkVisibility()).map((image) => ({
      source: image.getAttribute("src"),
      alternative: image.getAttribute("alt"),
      // An image that is all that a link has needs words.
      alone: Boolean(image.closest("a")) && !image.closest("a").innerText.trim(),
      width: image.naturalWidth,
    })),
    // Paragraphs that only say what the heading says.
    repeats: [...document.querySelectorAll("p")].map((paragraph) => paragraph.innerText.trim())
      .filter((text) => text.replace(/^\d+ /, "") === document.querySelector("h1")?.innerText.trim()),
    links: [...document.links].map((link) => link.innerText.trim()),
    wide: [root.scrollWidth, root.clientWidth],
    paper: luminance(behind(document.body)),
    height: root.scrollHeight,
    texts,
    number: lines.map(({ text }) => text),
  };
}
