// The theme is a cookie, so that the server's first byte already has it and nothing flashes.
const darkSystem = matchMedia("(prefers-color-scheme: dark)");

export function currentTheme() {
  return document.documentElement.dataset.theme || (darkSystem.matches ? "dark" : "light");
}

export function startThemeButton() {
  document.querySelector("[data-theme-button]")?.addEventListener("click", () => {
    const theme = currentTheme() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
    document.dispatchEvent(new Event("themechange"));
  });
  darkSystem.addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
}
