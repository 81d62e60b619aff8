// Puts a button beside each line that is there to be copied; without scripts a click selects it.
"use strict";
(() => {
  const copy = async (line) => {
    try {
      // Only a secure page has a clipboard.
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
    const said = document.createElement("span");
    said.className = "soft";
    said.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      said.textContent = (await copy(line)) ? "Copied." : "Not copied: select the line, and copy it.";
    });
    const row = document.createElement("p");
    row.className = "copying";
    row.append(button, said);
    line.after(row);
  }
})();
