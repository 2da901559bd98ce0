// Sets the colour scheme before the first paint. A file, not an inline script: the page's content security policy allows no inline script.
(function () {
  var scheme = 'auto'
  try {
    scheme = localStorage.getItem('hilum-color-scheme') || 'auto'
  } catch (_) {
    // Storage may be closed to the page; the system's scheme is then taken.
  }
  var dark = scheme === 'dark' || (scheme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light')
})()
