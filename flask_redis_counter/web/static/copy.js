// Adds a copy button to each snippet. Without scripts, a click selects the snippet.
"use strict";
(() => {
  const copy = async (line) => {
    try {
      // navigator.clipboard exists only in a secure context.
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(line.textContent);
        return true;
      }
      getSelection().selectAllChildren(line);
      return document.execCommand("copy");
    } catch {
      return false;
    }
  };

  for (const line of document.querySelectorAll("pre.line")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the ${line.dataset.what}`);
    const status = document.createElement("span");
    status.className = "soft";
    status.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      status.textContent = (await copy(line)) ? "Copied." : "Not copied: select the line and copy it.";
    });
    const row = document.createElement("p");
    row.className = "copying";
    row.append(button, status);
    line.after(row);
  }
})();
