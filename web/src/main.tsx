import '@fontsource-variable/inter/index.css'
import '@mantine/core/styles.css'
import './theme.css'

import { localStorageColorSchemeManager, MantineProvider } from '@mantine/core'
import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { queryClient } from './api/client'
import { router } from './router'
import { cssVariables, theme } from './theme'

// The same key as public/theme.js, which sets the scheme before the first paint.
const schemes = localStorageColorSchemeManager({ key: 'hilum-color-scheme' })

const root = document.getElementById('root')
if (root)
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={cssVariables} colorSchemeManager={schemes} defaultColorScheme="auto">
        <QueryClientProvider client={queryClient}>
          <RouterProvider router={router} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  )
