// Plain script, loaded before the modules: shows an error of a browser too old to run them.

addEventListener("error", event => {
  const line = document.getElementById("problem");
  if (!line.hidden) return;
  line.textContent = `this browser cannot run the page (${event.message || "a file is missing"})`;
  line.hidden = false;
}, true);
