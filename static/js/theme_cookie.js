// The admin's own <html> cannot carry the theme from the server: read the cookie before anything is painted.
(() => {
  const theme = document.cookie.match(/(?:^|; )theme=(light|dark)/)?.[1];
  if (theme) document.documentElement.dataset.theme = theme;
})();
