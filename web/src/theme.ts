/**
 * Hilum's look: one petrol accent on cool greys, Inter with tabular figures, small radii and tight spacing.
 * Everything that Mantine's defaults leave below the contrast of WCAG AA (dimmed text, filled and light colours) is set here.
 */
import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core'

const petrol: MantineColorsTuple = [
  '#e8f5f6', '#cfe8ea', '#a3d4d8', '#74bec5', '#4fa9b2', '#34949e', '#237e88', '#17686f', '#115459', '#0b3e43',
]
const slate: MantineColorsTuple = [
  '#f6f8f9', '#eef1f3', '#e1e6e9', '#cbd3d8', '#a9b4bc', '#82909a', '#62707a', '#4a5761', '#323d46', '#1d262d',
]
const ink: MantineColorsTuple = [
  '#d9e0e5', '#b9c4cc', '#9aa8b3', '#6f7e8a', '#4a5864', '#33404b', '#25303a', '#1a232b', '#141b22', '#0d1318',
]

export const theme = createTheme({
  primaryColor: 'petrol',
  primaryShade: { light: 7, dark: 6 },
  autoContrast: true,
  colors: { petrol, gray: slate, dark: ink },
  fontFamily: "'Inter Variable', system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace",
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.25rem' },
  lineHeights: { xs: '1.35', sm: '1.4', md: '1.5', lg: '1.5', xl: '1.4' },
  spacing: { xs: '0.375rem', sm: '0.625rem', md: '0.875rem', lg: '1.25rem', xl: '2rem' },
  radius: { xs: '3px', sm: '5px', md: '7px', lg: '10px', xl: '16px' },
  defaultRadius: 'sm',
  headings: {
    fontWeight: '620',
    sizes: {
      h1: { fontSize: '1.25rem', lineHeight: '1.3' },
      h2: { fontSize: '1rem', lineHeight: '1.4' },
      h3: { fontSize: '0.875rem', lineHeight: '1.4' },
    },
  },
  cursorType: 'pointer',
})

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {
    '--hilum-header': '3.25rem',
  },
  light: {
    '--mantine-color-body': '#f6f8f9',
    '--mantine-color-text': '#1d262d',
    '--mantine-color-dimmed': '#55626c',
    '--mantine-color-placeholder': '#6b7882',
    '--mantine-color-anchor': '#115f66',
    '--mantine-color-error': '#b3261e',
    '--hilum-surface': '#ffffff',
    '--hilum-sunken': '#eef1f3',
    '--hilum-line': '#dde3e7',
    '--hilum-line-strong': '#c3ccd2',
    '--hilum-hover': '#f0f5f6',
    '--hilum-active': '#e2f0f1',
    '--hilum-accent': '#17686f',
    '--hilum-accent-soft': '#e1f0f1',
    '--hilum-good': '#1d6b3f',
    '--hilum-warn': '#8a5300',
    '--hilum-bad': '#b3261e',
    '--hilum-good-soft': '#e3f3e9',
    '--hilum-warn-soft': '#fdf1dc',
    '--hilum-bad-soft': '#fbe9e7',
  },
  dark: {
    '--mantine-color-body': '#0f151a',
    '--mantine-color-text': '#d9e0e5',
    '--mantine-color-dimmed': '#9aa8b3',
    '--mantine-color-placeholder': '#8694a0',
    '--mantine-color-anchor': '#7fcbd1',
    '--mantine-color-error': '#ff9c92',
    '--hilum-surface': '#161e25',
    '--hilum-sunken': '#0b1014',
    '--hilum-line': '#26313a',
    '--hilum-line-strong': '#3a4853',
    '--hilum-hover': '#1b252d',
    '--hilum-active': '#17323a',
    '--hilum-accent': '#6cc3ca',
    '--hilum-accent-soft': '#15323a',
    '--hilum-good': '#7fd3a1',
    '--hilum-warn': '#eebd6b',
    '--hilum-bad': '#ff9c92',
    '--hilum-good-soft': '#143224',
    '--hilum-warn-soft': '#382a10',
    '--hilum-bad-soft': '#3d1a18',
  },
})
